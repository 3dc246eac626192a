# run: succeeded
# rules: 2
# a: succeeded
# b: succeeded
pipeline "optional_dependency" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["sleep", "0.2"]
  }
  module "b" {
    optional_depends_on = [module.a]
    command             = ["true"]
  }
}
