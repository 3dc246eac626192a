imports = ["words.hcl"]

template "step" {
  timeout = "1m"
  env     = { MODE = "quick" }
}

locals {
  text = "${local.greeting}, ${module.count.result.n} of them"
}
