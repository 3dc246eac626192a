# run: succeeded
# rules: 5
# a: skipped
# b: succeeded
# log b: skipped
pipeline "always_run_after_skip" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    when    = false
    command = ["true"]
  }
  module "b" {
    always_run = true
    command    = ["echo", module.a.status]
  }
}
