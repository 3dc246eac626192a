locals {
  broken   = local.nothing
}

locals {
  text = "theirs"
}
