// Index logic that kernels and the host share is marked with this.
#pragma once

#if defined(__CUDACC__)
#define LASNET_HOST_DEVICE __host__ __device__
#else
#define LASNET_HOST_DEVICE
#endif
