# Workers by load, where worker_count_max is above worker_count. The service stands here a second
# time, since Terraform cannot ignore desired_count by a condition, and an apply that set it back
# would take workers away in mid-epoch.

resource "aws_ecs_service" "scaled_workers" {
  count = local.is_scaled ? 1 : 0

  name            = "workers-scaled"
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.worker.arn
  desired_count   = var.worker_count

  capacity_provider_strategy {
    capacity_provider = var.workers_on_spot ? "FARGATE_SPOT" : "FARGATE"
    weight            = 1
  }

  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.workers.id]
    assign_public_ip = false
  }

  service_registries {
    registry_arn = aws_service_discovery_service.this["workers"].arn
  }

  propagate_tags = "SERVICE"
  depends_on = [
    aws_ecs_cluster_capacity_providers.this,
    aws_vpc_security_group_egress_rule.endpoints,
    aws_vpc_security_group_egress_rule.s3,
    aws_vpc_security_group_ingress_rule.endpoints,
  ]

  lifecycle {
    ignore_changes = [desired_count]
  }
}

resource "aws_appautoscaling_target" "workers" {
  count = local.is_scaled ? 1 : 0

  service_namespace  = "ecs"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.scaled_workers[0].name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = var.worker_count
  max_capacity       = var.worker_count_max
}

resource "aws_appautoscaling_policy" "workers" {
  count = local.is_scaled ? 1 : 0

  name               = "cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.workers[0].service_namespace
  resource_id        = aws_appautoscaling_target.workers[0].resource_id
  scalable_dimension = aws_appautoscaling_target.workers[0].scalable_dimension

  target_tracking_scaling_policy_configuration {
    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
    target_value = var.worker_cpu_percent_target
    # Fewer workers mean a retried epoch, so they go slowly and come quickly.
    scale_in_cooldown  = 600
    scale_out_cooldown = 60
  }
}
