# run: succeeded_with_warnings
# rules: 5
# a: failed
# b: skipped "dependency a failed"
pipeline "ignore_failure_dependent" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    ignore_failure = true
    command        = ["false"]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
}
