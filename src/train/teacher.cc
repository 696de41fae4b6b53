#include "train/teacher.h"

#include "base/fail.h"
#include "train/config.h"
#include "train/record.h"

namespace lasnet {

Model load_teacher_for(const std::string& path, const std::vector<std::string>& classes,
                       const Preprocessing& preprocessing) {
  Model model = load_model(path);
  if (model.spec.arch.classes != static_cast<int>(classes.size())) {
    fail("{}: the teacher has {} classes, the data {}", path, model.spec.arch.classes, classes.size());
  }
  if (!model.class_names.empty() && !same_names(model.class_names, classes)) {
    size_t at = 0;
    while (same_names({model.class_names[at]}, {classes[at]})) ++at;
    fail(
        "{}: the teacher's class {} is '{}', that of the data '{}'; expected the same classes in the same "
        "order",
        path, at, model.class_names[at], classes[at]);
  }
  const Preprocessing &theirs = model.preprocessing, &ours = preprocessing;
  if (theirs.mean != ours.mean || theirs.std != ours.std) {
    fail(
        "{}: the teacher expects inputs of mean {:g} and standard deviation {:g}, the network to train {:g} "
        "and {:g}; "
        "make the teacher a model file with these, or train with its own ({}, {})",
        path, fmt::join(theirs.mean, ","), fmt::join(theirs.std, ","), fmt::join(ours.mean, ","),
        fmt::join(ours.std, ","), setting_name("mean"), setting_name("std"));
  }
  return model;
}

}  // namespace lasnet
