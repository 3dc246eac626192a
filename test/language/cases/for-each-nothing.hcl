# run: succeeded
# rules: 3 s23
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
