# run: succeeded
# rules: 3 s23
# flags: -var given=1.30
# a[1.2]: succeeded
# b[1.20]: succeeded
# log a[1.2]: 1.2 1.3 1.30
# log b[1.20]: 1.20
pipeline "number_text" {
  workspace {
    exclude = ["**"]
  }
  variable "default" {
    default = 1.30
  }
  variable "given" {
    type = string
  }
  module "a" {
    matrix = { go = [1.20] }
    script = "echo ${matrix.go} ${var.default} ${var.given}"
  }
  module "b" {
    matrix = { go = ["1.20"] }
    script = "echo ${matrix.go}"
  }
}
