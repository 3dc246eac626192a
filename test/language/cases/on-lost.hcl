# run: succeeded
# rules: 6
# a: succeeded
pipeline "on_lost" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    on_lost = "fail"
    command = ["true"]
  }
}
