# run: succeeded
# rules: 6
# kill
# a: succeeded
pipeline "on_disconnect" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    on_disconnect = "kill"
    command       = ["sleep", "0.5"]
  }
}
