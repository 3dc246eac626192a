# run: succeeded
# rules: 3
# a: succeeded
# log a: x-y
pipeline "locals" {
  workspace {
    exclude = ["**"]
  }
  locals {
    a = "x"
    b = "${local.a}-y"
  }
  module "a" {
    command = ["echo", local.b]
  }
}
