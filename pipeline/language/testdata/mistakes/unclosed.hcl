pipeline "p" {
  module "a" {
    command = ["echo", "x
    timeout = 10
  }

  module "b" {
    command = ["echo" "x"]
    env     = { A = }
    grace   = "0"
  }

  module "c" {
    script = <<-SH
      echo ${1 +}
    SH
    nothing = true
  }
