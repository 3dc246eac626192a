# run: failed
# rules: 5
# kill
# a: failed "exit code 1"
# b: skipped "a failed"
# c: succeeded
pipeline "failure_stops" {
  workspace {
    exclude = ["**"]
  }
  module "c" {
    command = ["true"]
  }
  module "a" {
    depends_on = [module.c]
    command    = ["false"]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
}
