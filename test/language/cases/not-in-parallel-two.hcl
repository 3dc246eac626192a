# run: succeeded
# rules: s28
# a: succeeded
# b: succeeded
# c: succeeded
pipeline "not_in_parallel_two" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    not_in_parallel = ["conf-x", "conf-y"]
    command         = ["true"]
  }
  module "b" {
    not_in_parallel = ["conf-y"]
    command         = ["true"]
  }
  module "c" {
    not_in_parallel = ["conf-x"]
    command         = ["true"]
  }
}
