# run: succeeded
# rules: 3 5
# a: succeeded
# b: succeeded
# log b: succeeded 0 false
pipeline "status_values" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["true"]
  }
  module "b" {
    command = ["echo", module.a.status, tostring(module.a.exit_code), tostring(module.a.cached)]
  }
}
