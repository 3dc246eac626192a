# run: failed
# rules: 3
# a: succeeded
# b: failed "expression"
pipeline "expression_fails" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["true"]
  }
  module "b" {
    command = ["echo", module.a.result.none]
  }
}
