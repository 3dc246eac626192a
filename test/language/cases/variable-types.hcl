# run: succeeded
# rules: 3
# flags: -var n=3 -var l=["a","b"]
# a: succeeded
# log a: 4 b true
pipeline "variable_types" {
  workspace {
    exclude = ["**"]
  }
  variable "n" {
    type = number
  }
  variable "l" {
    type = list(string)
  }
  variable "o" {
    type    = object({ x = bool })
    default = { x = true }
  }
  module "a" {
    command = ["echo", tostring(var.n + 1), var.l[1], tostring(var.o.x)]
  }
}
