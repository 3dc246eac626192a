# run: failed
# rules: 5
# a: failed
# b: succeeded
# c: succeeded
pipeline "always_run_chain" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["false"]
  }
  module "b" {
    depends_on = [module.a]
    always_run = true
    command    = ["true"]
  }
  module "c" {
    depends_on = [module.b]
    always_run = true
    command    = ["true"]
  }
}
