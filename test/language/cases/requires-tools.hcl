# run: succeeded
# rules: 5
# a: succeeded
pipeline "requires_tools" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    requires = { os = "LINUX", tools = ["sh"] }
    command  = ["true"]
  }
}
