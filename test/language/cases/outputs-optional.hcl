# run: succeeded
# rules: s24
# a: succeeded
pipeline "outputs_optional" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command          = ["true"]
    outputs_optional = ["x.txt"]
  }
}
