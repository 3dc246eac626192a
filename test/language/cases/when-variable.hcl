# run: succeeded
# rules: 5
# flags: -var v=prod
# a: succeeded
# b: skipped "when is false: var.v == "
pipeline "when_variable" {
  workspace {
    exclude = ["**"]
  }
  variable "v" {
    default = "dev"
  }
  module "a" {
    when    = var.v == "prod"
    command = ["true"]
  }
  module "b" {
    when    = var.v == "dev"
    command = ["true"]
  }
}
