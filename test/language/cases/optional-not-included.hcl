# run: succeeded
# rules: 2
# flags: -target b
# b: succeeded
pipeline "optional_not_included" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["false"]
  }
  module "b" {
    optional_depends_on = [module.a]
    command             = ["true"]
  }
}
