// Marks what a program that links the library may use; everything else is hidden.
#pragma once

#define LASNET_EXPORT __attribute__((visibility("default")))
