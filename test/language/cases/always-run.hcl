# run: failed
# rules: 5
# kill
# a: failed
# b: skipped "dependency a failed"
# c: succeeded
# log c: failed
pipeline "always_run" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["false"]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
  module "c" {
    depends_on = [module.a]
    always_run = true
    command    = ["echo", module.a.status]
  }
}
