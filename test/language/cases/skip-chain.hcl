# run: failed
# rules: 5
# a: failed
# b: skipped "dependency a failed"
# c: skipped "dependency b was skipped"
pipeline "skip_chain" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"
  module "a" {
    command = ["false"]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
  module "c" {
    depends_on = [module.b]
    command    = ["true"]
  }
}
