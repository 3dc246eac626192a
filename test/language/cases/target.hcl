# run: succeeded
# rules: 9
# flags: -target b
# a: succeeded
# b: succeeded
pipeline "target" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["true"]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
  module "c" {
    command = ["false"]
  }
}
