# run: invalid
# rules: 10 child
# error: lib/inner.hcl:8:23: variable "numbers": at most three numbers
# error: variables of module "inner"
pipeline "child-validation" {
  module "inner" {
    pipeline  = "lib/inner.hcl"
    variables = { word = "x", numbers = range(4) }
  }
}
