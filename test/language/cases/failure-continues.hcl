# run: failed
# rules: 5
# kill
# a: failed
# b: succeeded
# c: succeeded
# d: skipped "dependency a failed"
pipeline "failure_continues" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"
  module "a" {
    command = ["sh", "-c", "exit 2"]
  }
  module "b" {
    command = ["sleep", "0.5"]
  }
  module "c" {
    depends_on = [module.b]
    command    = ["true"]
  }
  module "d" {
    depends_on = [module.a]
    command    = ["true"]
  }
}
