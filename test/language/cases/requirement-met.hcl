# run: succeeded
# rules: 5
# requirement[sh is here]: succeeded
# a: succeeded
pipeline "requirement_met" {
  workspace {
    exclude = ["**"]
  }
  requirement "sh is here" {
    command = ["sh", "-c", "true"]
    message = "install sh"
  }
  module "a" {
    command = ["true"]
  }
}
