# run: failed
# rules: 2
# a: failed
# b: skipped "dependency a failed"
pipeline "optional_failed" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"
  module "a" {
    command = ["false"]
  }
  module "b" {
    optional_depends_on = [module.a]
    command             = ["true"]
  }
}
