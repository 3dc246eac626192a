# run: succeeded
# rules: 3 s23
# b[x,1]: succeeded
# b[x,2]: succeeded
pipeline "matrix_variable" {
  workspace {
    exclude = ["**"]
  }
  variable "m" {
    type    = map(list(string))
    default = { b = ["1", "2"], a = ["x"] }
  }
  module "b" {
    matrix  = var.m
    command = ["true"]
  }
}
