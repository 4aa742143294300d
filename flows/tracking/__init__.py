"""MLflow: the store, its runs, results and registered models. No other package imports mlflow."""
