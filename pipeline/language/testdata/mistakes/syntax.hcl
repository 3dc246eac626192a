pipeline "p" {
  module "a" {
    command = ["echo", "x"
  }

  module "b" {
    comand = ["echo"]
    script = "echo ${HOME:-/root}"
    timeout = "ten"
  }
}
