# run: invalid
# rules: 2 10
# error: not_in_parallel["gpu"]: number out of range
# error: write a whole number from 1 to 1000
# error: not_in_parallel["disk"]: expected a number, got a string
# error: not_in_parallel[""]
# error: not_in_parallel: expected a list, got a string
pipeline "not_in_parallel_mistakes" {
  module "a" {
    not_in_parallel = { gpu = 0, disk = "few", "" = 1 }
    command         = ["true"]
  }
  module "b" {
    not_in_parallel = "gpu"
    command         = ["true"]
  }
}
