# run: succeeded_with_warnings
# rules: 5
# kill
# a: failed
# b: succeeded
pipeline "ignore_failure" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    ignore_failure = true
    command        = ["false"]
  }
  module "b" {
    command = ["sleep", "0.3"]
  }
}
