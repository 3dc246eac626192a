# run: invalid
# rules: 10
# flags: -var n=many
# error: variable "n": wrong type: a number is required
pipeline "invalid_variable" {
  variable "n" {
    type = number
  }
  module "a" {
    command = ["echo", var.n]
  }
}
