# run: succeeded
# rules: 5
# kill
# a: skipped "when is false"
# b: skipped "dependency a was skipped"
# c: succeeded
pipeline "when_false" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    when    = false
    command = ["true"]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
  module "c" {
    command = ["true"]
  }
}
