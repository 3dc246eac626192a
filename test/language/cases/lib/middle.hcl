# Run by child-nested.hcl.
pipeline "middle" {
  variable "word" {}
  module "in" {
    pipeline  = "inner.hcl"
    variables = { word = "${var.word}!", numbers = [7] }
  }
}
