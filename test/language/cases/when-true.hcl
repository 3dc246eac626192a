# run: succeeded
# rules: 5
# a: succeeded
pipeline "when_true" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    when    = 1 < 2
    command = ["true"]
  }
}
