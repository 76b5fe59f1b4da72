# A mesh as teams write it: variables, locals, references, for_each, count, dynamic blocks, a module.
provider "aws" {
  region = "eu-west-1"
  default_tags {
    tags = { stage = var.stage }
  }
}

variable "stage" {
  type = string
}

variable "versions" {
  default = {
    blue  = { weight = 90, ports = [8080, 9090] }
    green = { weight = 10, ports = [8080] }
  }
}

variable "asked_for" {}

locals {
  name   = "${var.stage}-shop"
  format = <<-EOT
    %START_TIME%
  EOT
}

resource "aws_appmesh_mesh" "shop" {
  name = local.name

  spec {
    egress_filter {
      type = var.stage == "production" ? "DROP_ALL" : "ALLOW_ALL"
    }
  }
}

resource "aws_service_discovery_private_dns_namespace" "shop" {
  name = "${var.stage}.local"
  vpc  = aws_vpc.main.id
}

resource "aws_appmesh_virtual_node" "quotes" {
  for_each  = var.versions
  name      = "quotes-${each.key}"
  mesh_name = aws_appmesh_mesh.shop.id

  spec {
    dynamic "listener" {
      for_each = each.value.ports
      content {
        port_mapping {
          port     = listener.value
          protocol = "http"
        }
      }
    }
    service_discovery {
      aws_cloud_map {
        namespace_name = aws_service_discovery_private_dns_namespace.shop.name
        service_name   = "quotes"
        attributes     = { version = each.key }
      }
    }
    logging {
      access_log {
        file {
          path = "/dev/stdout"
          format {
            text = trimspace(local.format)
          }
        }
      }
    }
  }

  tags = merge({ team = "quotes" }, { stage = "own" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_appmesh_virtual_router" "quotes" {
  count     = 1
  name      = format("quotes-%02d", count.index)
  mesh_name = aws_appmesh_mesh.shop.name

  spec {
    listener {
      port_mapping {
        port     = "8080"
        protocol = "http"
      }
    }
  }
}

resource "aws_appmesh_route" "quotes" {
  name                = "all"
  mesh_name           = aws_appmesh_mesh.shop.name
  virtual_router_name = aws_appmesh_virtual_router.quotes[0].name

  spec {
    priority = 0
    http_route {
      match {
        prefix = "/"
        header {
          name   = "x-user"
          invert = true
          match {
            range {
              start = 1
              end   = 5
            }
          }
        }
      }
      action {
        dynamic "weighted_target" {
          for_each = var.versions
          iterator = version
          content {
            virtual_node = aws_appmesh_virtual_node.quotes[version.key].name
            weight       = version.value.weight
          }
        }
      }
    }
  }
}

module "services" {
  source   = "./modules/service"
  for_each = toset(["quotes", "news"])
  mesh     = aws_appmesh_mesh.shop.name
  name     = "${each.value}.${var.stage}.local"
  router   = aws_appmesh_virtual_router.quotes[0].name
}

module "elsewhere" {
  source = "terraform-aws-modules/vpc/aws"
}
