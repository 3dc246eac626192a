variable "who" {
  default = "all"
}

locals {
  greeting = "hello ${var.who}"
}
