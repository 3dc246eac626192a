# run: invalid
# rules: s23 10
# error: max_parallel bounds the instances of a module, and module "alone" has neither matrix nor for_each
# error: max_parallel: number out of range
pipeline "max_parallel_mistakes" {
  module "alone" {
    max_parallel = 2
    command      = ["true"]
  }
  module "none" {
    matrix       = { n = [1, 2] }
    max_parallel = 0
    command      = ["true"]
  }
}
