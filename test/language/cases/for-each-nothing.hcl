# run: succeeded
# rules: 3 s23
# a: succeeded "no instances: there is nothing to run it for"
# b: succeeded
pipeline "for_each_nothing" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    for_each = []
    command  = ["true"]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
}
