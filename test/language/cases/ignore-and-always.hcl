# run: succeeded_with_warnings
# rules: 5
# a: failed
# b: succeeded
# log b: failed
pipeline "ignore_and_always" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    ignore_failure = true
    command        = ["false"]
  }
  module "b" {
    always_run = true
    command    = ["echo", module.a.status]
  }
}
