# run: succeeded
# rules: 2
# kill
# a: succeeded
# b: succeeded
pipeline "depends_on" {
  workspace {
    exclude = ["**"]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
  module "a" {
    command = ["true"]
  }
}
