# run: failed
# rules: 5
# a: failed
# b: failed
pipeline "ignore_failure_and_real" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"
  module "a" {
    ignore_failure = true
    command        = ["false"]
  }
  module "b" {
    command = ["false"]
  }
}
