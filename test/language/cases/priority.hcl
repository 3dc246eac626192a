# run: succeeded
# rules: s29
# a: succeeded
# b: succeeded
# c: succeeded
# log c: last
pipeline "priority" {
  workspace {
    exclude = ["**"]
  }
  max_parallel = 1
  module "c" {
    priority = -5
    command  = ["echo", "last"]
  }
  module "a" {
    priority = 10
    command  = ["true"]
  }
  module "b" {
    command = ["true"]
  }
}
