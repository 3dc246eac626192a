# run: succeeded
# rules: 1
# kill
# a: succeeded
# log a: x $HOME y
pipeline "command" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["echo", "x", "$HOME", "y"]
  }
}
