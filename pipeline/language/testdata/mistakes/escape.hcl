pipeline "p" {
  module "a" {
    command = ["echo", "[31mred", x]
  }
}
