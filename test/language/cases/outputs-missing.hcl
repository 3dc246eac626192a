# run: failed
# rules: s24
# a: failed "x.txt"
pipeline "outputs_missing" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["true"]
    outputs = ["x.txt"]
  }
}
